//! IP and socket addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use rkyv::{Archive, Deserialize as _, Place};

use super::Wire;
use crate::archive::{ArchiveError, Decoder};
use crate::encode::{EncodeError, Encoder};
use crate::schema::Schema;

macro_rules! addresses {
    ($($type:ident),*) => {$(
        impl Wire for $type {
            type Archived = <$type as Archive>::Archived;
            type Resolver = <$type as Archive>::Resolver;
            const DEPTH: u32 = 0;

            fn describe(_: &mut Schema) -> String {
                stringify!($type).to_owned()
            }

            fn serialize(&self, encoder: &mut Encoder<'_>) -> Result<Self::Resolver, EncodeError> {
                rkyv::Serialize::serialize(self, encoder)
            }

            fn resolve(&self, resolver: Self::Resolver, out: Place<Self::Archived>) {
                Archive::resolve(self, resolver, out);
            }

            fn deserialize(archived: &Self::Archived, decoder: &mut Decoder) -> Result<Self, ArchiveError> {
                archived.deserialize(decoder)
            }
        }
    )*};
}

addresses!(IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6);
