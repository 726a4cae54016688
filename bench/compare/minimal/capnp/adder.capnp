# The service of the smallest program.
@0xb1c7c1a8f3a5d2e7;

interface Adder {
  add @0 (a :Int64, b :Int64) -> (sum :Int64);
}
