//! What the services share with each other.
