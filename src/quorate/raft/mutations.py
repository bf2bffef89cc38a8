"""Known bugs of Raft implementations that a debug build can put back, so that tests show that they are caught.

A release build has none of this in its compiled code: :func:`mutations` is empty and ``Raft(mutation=...)`` is refused.
The numbers are those of the enumeration in ``_types.pxd``.
"""

from __future__ import annotations

from typing import Final

__all__ = ["MUTATIONS"]

MUTATIONS: Final[dict[str, int]] = {
    name: number
    for number, name in enumerate(
        (
            "commit_older_term",
            "truncate_on_duplicate",
            "vote_not_persisted",
            "count_reply_twice",
            "change_before_commit",
            "two_changes_in_flight",
            "snapshot_keeps_conflict",
            "read_without_quorum",
            "read_before_commit",
            "lease_ignores_pause",
            "lease_ignores_vote_promise",
            "removed_leader_stays",
            "joint_needs_one_majority",
            "vote_stale_log",
            "vote_twice",
            "append_without_prev_check",
            "commit_beyond_match",
            "ack_before_persist",
            "persisted_by_index_alone",
            "leader_counts_unpersisted",
            "config_not_undone",
            "snapshot_without_configuration",
            "check_quorum_never",
            "pre_vote_bumps_term",
            "learner_counts_in_quorum",
            "read_token_reused",
            "leader_appends_over",
            "term_not_persisted",
        ),
        start=1,
    )
}
