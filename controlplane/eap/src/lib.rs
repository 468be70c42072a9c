//! EAP methods, server and peer, sans-IO (RFC 3748).
