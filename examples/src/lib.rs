//! Short programs that run. Each file of `src/bin` is one; start with `hello`, then `tour`.
