//! Who may have what a node shares.
//!
//! Every caller has a certificate of the same TrustChain; what is decided here is what its owner says beyond that.

use std::collections::BTreeSet;

use libp2p::PeerId;

/// To whom something is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permission {
    /// To every node.
    Public,
    /// To nodes of its owner.
    Private,
    /// To nodes of its owner and to these.
    Restricted {
        /// The others.
        nodes: BTreeSet<PeerId>,
    },
    /// To nodes of its owner and of its friends.
    Friends,
    /// To every node, without keeping who asked.
    Anonymous,
    /// To nodes that proved a key that quantum computers do not break.
    Verified,
}

/// What is known of who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// Its peer, whose certificate was checked.
    pub peer: PeerId,
    /// What it is to the owner.
    pub relation: Relation,
    /// Whether it proved a FALCON key in this connection.
    pub is_verified: bool,
}

/// What a node is to the owner of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// A node of the owner.
    Own,
    /// One that the owner calls a friend.
    Friend,
    /// Any other.
    Other,
}

/// What is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It is given.
    Allowed {
        /// Whether it may be kept who asked.
        is_recorded: bool,
    },
    /// It is not.
    Denied {
        /// Why.
        reason: Denial,
    },
}

/// Why something is not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denial {
    /// It is private.
    #[error("it is private")]
    Private,
    /// The peer is not on its list.
    #[error("the peer is not among those it is for")]
    NotListed,
    /// The peer is no friend.
    #[error("the peer is no friend of its owner")]
    NoFriend,
    /// The peer has proved no post-quantum key.
    #[error("the peer has not proved a FALCON key")]
    NotVerified,
}

/// Decides whether somebody may have something.
pub fn may(permission: &Permission, asker: &Asker) -> Access {
    let allowed = Access::Allowed { is_recorded: true };
    let unless = |reason| Access::Denied { reason };
    if asker.relation == Relation::Own {
        return allowed;
    }
    match permission {
        Permission::Public => allowed,
        Permission::Anonymous => Access::Allowed { is_recorded: false },
        Permission::Private => unless(Denial::Private),
        Permission::Restricted { nodes } if nodes.contains(&asker.peer) => allowed,
        Permission::Restricted { .. } => unless(Denial::NotListed),
        Permission::Friends if asker.relation == Relation::Friend => allowed,
        Permission::Friends => unless(Denial::NoFriend),
        Permission::Verified if asker.is_verified => allowed,
        Permission::Verified => unless(Denial::NotVerified),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YES: Result<bool, Denial> = Ok(true);

    /// Asks as the owner, a friend, a stranger, and a stranger with a FALCON key; the last two have the given peer.
    fn check(permission: &Permission, peer: PeerId, expected: [Result<bool, Denial>; 4]) {
        let asker = |relation, is_verified| Asker { peer, relation, is_verified };
        let askers = [
            asker(Relation::Own, false),
            asker(Relation::Friend, false),
            asker(Relation::Other, false),
            asker(Relation::Other, true),
        ];
        let found = askers.map(|asker| match may(permission, &asker) {
            Access::Allowed { is_recorded } => Ok(is_recorded),
            Access::Denied { reason } => Err(reason),
        });
        assert_eq!(found, expected, "{permission:?}");
    }

    #[test]
    fn public_is_for_all() {
        check(&Permission::Public, PeerId::random(), [YES; 4]);
    }

    #[test]
    fn anonymous_is_for_all_and_keeps_no_names_of_others() {
        check(&Permission::Anonymous, PeerId::random(), [YES, Ok(false), Ok(false), Ok(false)]);
    }

    #[test]
    fn private_is_for_the_owner() {
        let no = Err(Denial::Private);
        check(&Permission::Private, PeerId::random(), [YES, no, no, no]);
    }

    #[test]
    fn restricted_is_for_the_list() {
        let (listed, other) = (PeerId::random(), PeerId::random());
        let permission = || Permission::Restricted { nodes: BTreeSet::from([listed]) };
        check(&permission(), listed, [YES; 4]);
        let no = Err(Denial::NotListed);
        check(&permission(), other, [YES, no, no, no]);
    }

    #[test]
    fn friends_is_for_friends() {
        let no = Err(Denial::NoFriend);
        check(&Permission::Friends, PeerId::random(), [YES, YES, no, no]);
    }

    #[test]
    fn verified_is_for_who_proved_a_key() {
        let no = Err(Denial::NotVerified);
        check(&Permission::Verified, PeerId::random(), [YES, no, no, YES]);
    }
}
