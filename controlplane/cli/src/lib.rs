//! The operator's command: supervisor and management client.
