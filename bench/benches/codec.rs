//! Headers, encoding, validating and reading in place. Each benchmark checks its answer before it is timed.

#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::hint::black_box;

use bench::{Record, archive, records, sum};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use rpc_core::archive::access;
use rpc_core::encode::encode;
use rpc_core::header::{FrameHeader, Kind};
use rpc_core::wire::{ByRef, BySlice, ByStr};
use rpc_core::{Archive, CallId, FrameBuf};

fn header(c: &mut Criterion) {
    let header = FrameHeader {
        body_len: 64,
        ..FrameHeader::new(Kind::Call, CallId(7))
    };
    let bytes = header.encode();
    assert_eq!(FrameHeader::decode(&bytes, 1 << 20), Ok(header));
    c.bench_function("header/encode", |b| b.iter(|| black_box(header).encode()));
    c.bench_function("header/decode", |b| {
        b.iter(|| FrameHeader::decode(black_box(&bytes), 1 << 20))
    });
}

fn encoding(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode");
    let mut frame = FrameBuf::new();
    let small = (ByStr("ada"), BySlice(&[7_u8; 64]), ByRef(&9_u64));
    group.bench_function("text, 64 bytes, number", |b| {
        b.iter(|| {
            frame.clear();
            encode(&mut frame, black_box(&small), 1 << 20)
        });
    });
    let list = records(1_000);
    assert_eq!(
        Archive::<Vec<Record>>::validate(archive(&list)).and_then(|read| read.deserialize()),
        Ok(list.clone())
    );
    group.throughput(Throughput::Elements(1_000));
    group.bench_function("1,000 records", |b| {
        b.iter(|| {
            frame.clear();
            encode(&mut frame, black_box(&ByRef(&list)), 1 << 20)
        });
    });
    group.finish();
}

fn reading(c: &mut Criterion) {
    let mut group = c.benchmark_group("access");
    let number = archive(&7_u64);
    group.bench_function("number", |b| {
        b.iter(|| access::<u64>(black_box(&number)).map(|n| n.to_native()))
    });
    let block = archive(&vec![7_u8; 1 << 20]);
    group.bench_function("1 MiB of bytes", |b| {
        b.iter(|| access::<Vec<u8>>(black_box(&block)).map(|bytes| bytes.len()))
    });
    let list = archive(&records(1_000));
    let expected: f64 = records(1_000)
        .iter()
        .map(|record| record.score + record.name.len() as f64)
        .sum();
    assert_eq!(access::<Vec<Record>>(&list).map(sum), Ok(expected));
    group.throughput(Throughput::Elements(1_000));
    group.bench_function("1,000 records, validated", |b| {
        b.iter(|| access::<Vec<Record>>(black_box(&list)).is_ok())
    });
    group.bench_function("1,000 records, validated and summed", |b| {
        b.iter(|| access::<Vec<Record>>(black_box(&list)).map(sum))
    });
    let valid = Archive::<Vec<Record>>::validate(list);
    group.bench_function("1,000 records, deserialised", |b| {
        b.iter_batched(
            || valid.clone(),
            |valid| {
                valid
                    .and_then(|valid| valid.deserialize())
                    .map(|records| records.len())
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, header, encoding, reading);
criterion_main!(benches);
