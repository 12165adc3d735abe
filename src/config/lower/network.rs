//! The network interface and the name servers.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use super::Lowering;
use crate::config::findings::At;
use crate::config::raw::RawNetwork;
use crate::config::scalar::TextOrList;
use crate::domain::options::{Net, is_ip_config, is_unicast_mac};
use crate::domain::setting::{Key, Settings, Value};

impl Lowering<'_, '_> {
    /// `net0` and `nameserver`.
    pub(super) fn network(&mut self, settings: &mut Settings) {
        let raw = &self.declared.raw;
        let Some(network) = &raw.network_config else {
            let example = "{\"name\": \"eth0\", \"bridge\": \"vmbr0\", \"ip\": \"10.0.0.5/24\", \
                           \"gw\": \"10.0.0.1\"}";
            self.missing(&self.at.clone(), "network_config", example);
            return;
        };
        let here = self.at;
        let at = here.key("network_config");
        let name = self.interface(network, &at);
        let bridge = self.bridge(network, &at);
        let ip = self.address(network, &at);
        let gw = self.gateway(network, ip.as_deref(), &at);
        let hwaddr = self.hardware_address(network, &at);
        let net = Net {
            name,
            bridge,
            ip,
            gw,
            hwaddr,
            other: BTreeMap::new(),
        };
        settings.insert(Key::Net(0), net.into());
        if let Some(servers) = self.name_servers(network, &at) {
            settings.insert(Key::Nameserver, Value::Text(servers));
        }
    }

    fn interface(&mut self, network: &RawNetwork, at: &At<'_>) -> String {
        let Some(name) = &network.name else {
            self.missing(at, "name", "\"eth0\"");
            return String::new();
        };
        if !(1..=15).contains(&name.len()) || !is_plain(name) {
            let message = format!("'{name}' is not the name of an interface");
            let help = "1 to 15 letters, digits, '-', '_' or '.', such as \"eth0\"";
            self.findings.error(&at.key("name"), message, help);
        }
        name.clone()
    }

    fn bridge(&mut self, network: &RawNetwork, at: &At<'_>) -> Option<String> {
        if let Some(kind) = network.kind.as_deref().filter(|kind| *kind != "bridge") {
            let message = format!("phoenix knows only bridged interfaces, not '{kind}'");
            let help = "take \"type\" away and name a bridge";
            self.findings.error(&at.key("type"), message, help);
        }
        let Some(bridge) = &network.bridge else {
            self.missing(at, "bridge", "\"vmbr0\"");
            return None;
        };
        if bridge.is_empty() || !is_plain(bridge) {
            let message = format!("'{bridge}' is not the name of a bridge");
            self.findings
                .error(&at.key("bridge"), message, "write a name such as \"vmbr0\"");
        }
        Some(bridge.clone())
    }

    fn address(&mut self, network: &RawNetwork, at: &At<'_>) -> Option<String> {
        let Some(ip) = &network.ip else {
            self.missing(at, "ip", "\"10.0.0.5/24\"");
            return None;
        };
        if !is_ip_config(ip) {
            let help = "write an IPv4 address with its prefix length, such as \"10.0.0.5/24\", or \
                        \"dhcp\" or \"manual\"";
            let message = format!("'{ip}' is not an address of an interface");
            self.findings.error(&at.key("ip"), message, help);
        }
        Some(ip.clone())
    }

    fn gateway(&mut self, network: &RawNetwork, ip: Option<&str>, at: &At<'_>) -> Option<String> {
        // Some generators of these files write an empty text for "none".
        let gw = network.gw.as_deref().filter(|gw| !gw.is_empty())?;
        let place = at.key("gw");
        let Ok(gateway) = gw.parse::<Ipv4Addr>() else {
            let message = format!("'{gw}' is not an IPv4 address");
            self.findings
                .error(&place, message, "write an address such as \"10.0.0.1\"");
            return None;
        };
        let own = ip
            .filter(|ip| is_ip_config(ip))
            .and_then(|ip| ip.split_once('/'));
        match own.map(|(address, bits)| (address.parse::<Ipv4Addr>(), bits.parse::<u32>())) {
            Some((Ok(address), Ok(bits))) => {
                let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
                if address.to_bits() & mask != gateway.to_bits() & mask {
                    let message =
                        format!("the gateway {gw} is not in the network of {address}/{bits}");
                    let help = "correct the gateway, the address or its prefix length";
                    self.findings.warning(&place, message, help);
                }
                if address == gateway {
                    let message = format!("{gw} is the container's own address");
                    self.findings
                        .error(&place, message, "name the router of the network");
                }
            }
            _ if ip == Some("dhcp") => {
                let help = "take it away: the DHCP server names the gateway";
                self.findings
                    .warning(&place, "has no effect together with dhcp", help);
            }
            _ => {}
        }
        Some(gw.to_owned())
    }

    fn hardware_address(&mut self, network: &RawNetwork, at: &At<'_>) -> Option<String> {
        let here = self.at;
        let own = self
            .declared
            .raw
            .mac_address
            .as_ref()
            .map(|mac| (mac, here.key("mac_address")));
        let inner = network.hwaddr.as_ref().map(|mac| (mac, at.key("hwaddr")));
        if let (Some((one, _)), Some((other, place))) = (&own, &inner)
            && !one.eq_ignore_ascii_case(other)
        {
            let message = format!("'{other}' differs from mac_address, which is '{one}'");
            self.findings.error(place, message, "keep one of them");
        }
        let (mac, place) = own.or(inner)?;
        if !is_unicast_mac(mac) {
            let message = format!("'{mac}' is not the hardware address of an interface");
            let help = "six pairs of hexadecimal digits; the first pair must be even, such as 52";
            self.findings.error(&place, message, help);
        }
        Some(mac.clone())
    }

    fn name_servers(&mut self, network: &RawNetwork, at: &At<'_>) -> Option<String> {
        let one = network
            .nameserver
            .as_ref()
            .map(|servers| ("nameserver", servers));
        let (key, servers) =
            one.or_else(|| Some(("nameservers", network.nameservers.as_ref()?)))?;
        let texts = match &servers.0 {
            TextOrList::Text(text) => std::slice::from_ref(text),
            TextOrList::List(texts) => texts,
        };
        let words = texts.iter().flat_map(|text| text.split([' ', ',', ';']));
        let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
        for word in words.iter().filter(|word| word.parse::<IpAddr>().is_err()) {
            let message = format!("'{word}' is not the address of a name server");
            let help = "write addresses such as \"10.0.0.1\", not names";
            self.findings.error(&at.key(key), message, help);
        }
        (!words.is_empty()).then(|| words.join(" "))
    }
}

/// Letters, digits, `-`, `_`, `.`: what Proxmox VE takes as the name of an interface or bridge.
fn is_plain(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}
