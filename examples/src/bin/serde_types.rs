//! A type that only has serde derives, say of another crate, as argument and reply: `Serde<T>` carries it as the bytes of a codec.

use std::error::Error;

use rpc_client::in_process;
use rpc_core::{Bincode, Serde, service};
use serde::{Deserialize, Serialize};

/// Stands for a type that cannot be changed to be a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    pub title: String,
    pub points: Vec<(f64, f64)>,
}

#[service]
pub trait Plotter {
    /// `Serde<T>` means postcard.
    async fn mirrored(&self, figure: Serde<Figure>) -> Serde<Figure>;
    /// For those who need bincode's bytes.
    async fn count(&self, figure: Serde<Figure, Bincode>) -> u32;
}

struct Plot;

impl Plotter for Plot {
    async fn mirrored(&self, figure: Serde<Figure>) -> Serde<Figure> {
        let mut figure = figure.into_inner();
        figure.points.iter_mut().for_each(|(x, _)| *x = -*x);
        Serde::new(figure)
    }

    async fn count(&self, figure: Serde<Figure, Bincode>) -> u32 {
        u32::try_from(figure.points.len()).unwrap_or(u32::MAX)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let plotter = PlotterClient::new(in_process(PlotterServer::new(Plot)));
    let figure = Figure {
        title: "slope".into(),
        points: vec![(1.0, 2.0), (3.0, 4.0)],
    };
    let count = plotter.count(&Serde::new(figure.clone())).owned().await?;
    let mirrored = plotter.mirrored(&Serde::new(figure)).owned().await?;
    println!(
        "{}: {count} points, mirrored {:?}",
        mirrored.title, mirrored.points
    );
    assert_eq!(mirrored.points, [(-1.0, 2.0), (-3.0, 4.0)]);
    Ok(())
}
