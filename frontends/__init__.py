"""The ways into the compiler: every frontend turns a description of a model into a Graph."""
