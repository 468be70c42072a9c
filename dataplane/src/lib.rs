//! The data plane: stages, workers, SA tables, crypto engine, ports.
