//! The hash tables that every record passes.
//!
//! Their keys are numbers that the kernel gives or that it has checked: process ids, sockets,
//! inodes. Seeded anew at each start, so nobody can choose keys that collide; without the cost of a
//! cryptographic hash, which was a tenth of the time that the sensor spends on a connection.

use std::collections::HashMap;

/// A table that is looked into for every record.
pub type Table<K, V> = HashMap<K, V, foldhash::fast::RandomState>;
