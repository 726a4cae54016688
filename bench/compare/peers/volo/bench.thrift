// The benchmark's service as Thrift describes it.
namespace rs bench

struct Record {
    1: required i64 id,
    2: required string name,
    3: required list<string> tags,
    4: required double score,
}

struct Records {
    1: required list<Record> records,
}

service Bench {
    binary Echo(1: required binary data),
    Records (pilota.rust_wrapper_arc = "true") List(),
    binary Blob(1: required i64 length),
}
