//! Loads the kernel programs and owns their maps.
