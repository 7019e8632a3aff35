"""The ways out of the compiler: every backend turns a graph or a program into an Executable."""
