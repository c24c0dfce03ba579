//! Shared rig of the end-to-end tests.
