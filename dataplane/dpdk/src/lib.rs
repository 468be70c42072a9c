//! Safe wrappers over the EAL, mempools and ethdev queues.
