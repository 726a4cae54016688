# The benchmark's service as Cap'n Proto describes it.
@0xd1a7c5c0f7be6a11;

interface Bench {
  echo @0 (data :Data) -> (data :Data);
  list @1 () -> (records :List(Record));
  blob @2 (length :UInt64) -> (data :Data);
  items @3 (count :UInt64, sink :Sink) -> ();

  interface Sink {
    push @0 (item :Data) -> stream;
    done @1 () -> ();
  }

  struct Record {
    id @0 :UInt64;
    name @1 :Text;
    tags @2 :List(Text);
    score @3 :Float64;
  }
}
