"""Roles, and which rpc needs which."""

from enum import StrEnum


class Role(StrEnum):
    """What a key may do; each includes those above it."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"

    def covers(self, needed: "Role") -> bool:
        """Return whether who has this role may do what needs the other."""
        return RANKS[self] >= RANKS[needed]


RANKS = {role: rank for rank, role in enumerate(Role)}

REQUIRED_ROLES = {
    f"recwire.v1.{rpc}": role
    for role, rpcs in {
        Role.READ: (
            "RecommenderService/Embed",
            "RecommenderService/EmbedStream",
            "RecommenderService/Recommend",
            "CatalogService/GetItem",
            "CatalogService/ListItems",
            "UserService/GetUser",
            "UserService/ListEvents",
            "UserService/ExportUser",
        ),
        Role.WRITE: (
            "RecommenderService/UpdateUser",
            "RecommenderService/UpdateUserStream",
            "CatalogService/UpsertItems",
            "CatalogService/ImportItems",
            "CatalogService/DeleteItems",
            "UserService/ForgetEvents",
            "UserService/DeleteUser",
        ),
        Role.ADMIN: (
            "AdminService/GetServerInfo",
            "AdminService/CheckUsers",
        ),
    }.items()
    for rpc in rpcs
}
"""The least role that may call an rpc of the contract; one that is not named here cannot be served."""
