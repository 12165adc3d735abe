//! Containers of a Proxmox VE node.

pub mod conf;
