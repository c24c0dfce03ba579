//! The providers' wire formats, each as pure functions from and to bytes.

pub mod openai_chat;
