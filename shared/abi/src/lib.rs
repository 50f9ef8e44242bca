//! What kernel programs and user space share.
#![no_std]
