//! The header in front of every answer.

use super::identity::Identity;
use super::wire::etcdserverpb::ResponseHeader;
use crate::Revision;

/// A header that names a revision and not yet who answers: within a transaction it stays so.
pub(crate) fn at(revision: Revision) -> Option<ResponseHeader> {
    Some(ResponseHeader {
        revision: revision.cast_signed(),
        ..ResponseHeader::default()
    })
}

/// A whole header.
pub(crate) fn whole(identity: &Identity, revision: Revision) -> Option<ResponseHeader> {
    Some(ResponseHeader {
        cluster_id: identity.cluster_id,
        member_id: identity.member_id,
        revision: revision.cast_signed(),
        raft_term: identity.raft_term,
    })
}
