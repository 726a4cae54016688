// The service of the smallest program.
namespace rs adder

service Adder {
    i64 Add(1: i64 a, 2: i64 b),
}
