//! planfleet-api
