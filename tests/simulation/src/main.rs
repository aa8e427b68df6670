fn main() { let a: Vec<u64> = std::env::args().skip(1).map(|a| a.parse().unwrap()).collect(); for s in a[0]..a[1] { freshjoin_simulation::X::t(s); } }
