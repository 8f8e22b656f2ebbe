//! Packet parsing shared by the kernel programs and the capture replayer.
