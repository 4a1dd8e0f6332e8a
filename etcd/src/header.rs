//! The header of every response.

use kvwatch::Revision;

use crate::identity::Identity;
use crate::wire::etcdserverpb::ResponseHeader;

/// A header with a revision only. The rules make these; the services fill the rest in, except for
/// responses nested in a transaction's, where etcd leaves the rest empty too.
pub(crate) fn at_revision(revision: Revision) -> Option<ResponseHeader> {
    Some(ResponseHeader {
        revision: revision.cast_signed(),
        ..ResponseHeader::default()
    })
}

/// A complete header.
pub(crate) fn full(identity: &Identity, revision: Revision) -> Option<ResponseHeader> {
    Some(ResponseHeader {
        cluster_id: identity.cluster_id,
        member_id: identity.member_id,
        revision: revision.cast_signed(),
        raft_term: identity.raft_term,
    })
}
