//! The shared-memory segment: memfd, SPSC rings, doorbells, layout hash.
