//! Who should own a shard: rendezvous hashing (Thaler and Ravishankar, 1998)
//! over the coordinators that are there. Adding or losing one moves only the
//! shards that it gains or had.

use planfleet_core::id::ShardId;

/// The member with the highest score for a shard.
pub fn preferred<'m>(shard: ShardId, members: impl IntoIterator<Item = &'m str>) -> Option<&'m str> {
    members.into_iter().max_by_key(|member| (score(shard, member), *member))
}

/// FNV-1a with a final mix (the finaliser of `MurmurHash3`): without it, names
/// that differ in the last byte only score alike on every shard.
fn score(shard: ShardId, member: &str) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let bytes = shard.to_be_bytes().into_iter().chain(member.bytes());
    let hash = bytes.fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owners(members: &[&str]) -> Vec<String> {
        (0..64).map(|shard| preferred(shard, members.iter().copied()).unwrap().to_owned()).collect()
    }

    #[test]
    fn losing_a_member_moves_only_its_shards() {
        let three = owners(&["a", "b", "c"]);
        let two = owners(&["a", "b"]);
        for (before, after) in three.iter().zip(&two) {
            assert!(before == "c" || before == after);
        }
    }

    #[test]
    fn everybody_gets_a_share() {
        for (member, at_least) in [("a", 8), ("b", 8), ("c", 8)] {
            let share = owners(&["a", "b", "c"]).iter().filter(|owner| *owner == member).count();
            assert!(share >= at_least, "{member} owns {share} of 64");
        }
    }

    #[test]
    fn nobody_owns_anything_alone() {
        assert_eq!(preferred(0, []), None);
    }
}
