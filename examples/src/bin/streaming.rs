//! Streams in every direction: items are sent from a reference and read where they were received; a slow reader slows its sender only.

use std::error::Error;

use rpc_client::Channel;
use rpc_core::{Receiver, Sender, message, service};
use rpc_server::Server;

#[message]
pub struct Reading {
    pub sensor: String,
    pub celsius: f64,
}

#[service]
pub trait Weather {
    /// Server stream: the handler sends, the caller receives.
    async fn readings(&self, count: u32, readings: Sender<Reading>) -> u32;
    /// Client stream: the caller sends, the handler receives.
    async fn average(&self, readings: Receiver<Reading>) -> Result<f64, String>;
    /// Both at once; a plain `fn` runs on the worker pool and blocks its thread.
    fn doubled(&self, numbers: Receiver<u64>, doubled: Sender<u64>);
}

struct Station;

impl Weather for Station {
    async fn readings(&self, count: u32, mut readings: Sender<Reading>) -> u32 {
        for number in 0..count {
            let reading = Reading {
                sensor: format!("sensor {}", number % 7),
                celsius: 20.0 + f64::from(number % 10),
            };
            if readings.send(&reading).await.is_err() {
                return number; // the caller wants no more
            }
        }
        count
    }

    async fn average(&self, mut readings: Receiver<Reading>) -> Result<f64, String> {
        let (mut sum, mut count) = (0.0, 0_u32);
        // An upload that breaks off is an error here, never a clean end.
        while let Some(reading) = readings.recv().await.map_err(|error| error.to_string())? {
            sum += reading.celsius.to_native();
            count += 1;
        }
        Ok(sum / f64::from(count))
    }

    fn doubled(&self, mut numbers: Receiver<u64>, mut doubled: Sender<u64>) {
        while let Ok(Some(number)) = numbers.blocking_recv() {
            if doubled.blocking_send(&(number.to_native() * 2)).is_err() {
                return;
            }
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = Server::builder()
        .service(WeatherServer::new(Station))
        .listen("tcp://127.0.0.1:0")
        .start()?;
    let weather = WeatherClient::new(Channel::connect(server.addresses()[0].clone()).await?);

    let (mut readings, call) = weather.readings(100_000).open().await?;
    let mut warm = 0;
    while let Some(reading) = readings.recv().await? {
        warm += u32::from(reading.celsius > 25.0); // in place
    }
    println!("{warm} of {} readings are above 25 °C", *call.await?);

    let (mut readings, call) = weather.average().open().await?;
    for number in 0..1_000_u32 {
        let celsius = f64::from(number);
        readings
            .send(&Reading {
                sensor: "probe".into(),
                celsius,
            })
            .await?;
    }
    readings.finish()?;
    println!("average {}", *call.await?);

    let (mut numbers, mut doubled, call) = weather.doubled().open().await?;
    for number in 1..=3 {
        numbers.send(&number).await?;
        let answer = doubled.recv().await?.ok_or("the stream has ended")?;
        println!("{number} doubled is {}", *answer);
    }
    numbers.finish()?;
    call.await?;
    server.shutdown().await;
    Ok(())
}
