//! Addresses of exported memory.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where a region is exported: network, node, port; as text `hypermesh://HEX32:HEX16/PORT` (HyperMesh). The access token that
/// HyperMesh counts to an address is the code of a capability, and never part of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProxyAddress {
    /// The network.
    pub network: [u8; 16],
    /// The node.
    pub node: [u8; 8],
    /// The region.
    pub port: u16,
}

/// A text that is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no address of the form `hypermesh://<32 hexadecimal digits>:<16 hexadecimal digits>/<port>`")]
pub struct ParseAddressError(String);

impl fmt::Display for ProxyAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = data_encoding::HEXLOWER;
        write!(f, "hypermesh://{}:{}/{}", hex.encode(&self.network), hex.encode(&self.node), self.port)
    }
}

impl FromStr for ProxyAddress {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, ParseAddressError> {
        let hex = |digits: &str| data_encoding::HEXLOWER.decode(digits.as_bytes()).ok();
        let parse = || {
            let (network, rest) = text.strip_prefix("hypermesh://")?.split_once(':')?;
            let (node, port) = rest.split_once('/')?;
            let number: u16 = port.parse().ok()?;
            // One address has one text.
            let (network, node) = (hex(network)?.try_into().ok()?, hex(node)?.try_into().ok()?);
            (number.to_string() == port).then_some(Self { network, node, port: number })
        };
        parse().ok_or_else(|| ParseAddressError(text.chars().take(128).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_text() {
        let address = ProxyAddress { network: [0xab; 16], node: [1, 2, 3, 4, 5, 6, 7, 8], port: 8000 };
        let text = "hypermesh://abababababababababababababababab:0102030405060708/8000";
        assert_eq!((address.to_string().as_str(), text.parse()), (text, Ok(address)));
        for wrong in [
            text.to_uppercase(),
            text.replace("8000", "08000"),
            text.replace("8000", "65536"),
            text.replace("8000", "+8000"),
            text.replace("hypermesh", "http"),
            text.replace("01020304", "010203"),
            format!("{text}/"),
            String::new(),
        ] {
            assert!(wrong.parse::<ProxyAddress>().is_err(), "{wrong}");
        }
    }
}
