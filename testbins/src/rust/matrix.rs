//! The combinations. Every run builds what differs most; the rest is for an extended run.

use super::{After, Combination, Profile, Provider, Shape, Stack};

const RUSTLS_0_23_RING: Stack = Stack {
    name: "0.23-ring",
    providers: &[Provider::Ring],
    folder: "rustls-0.23",
    features: "ring",
    needs: None,
};
/// With HTTP clients and a server.
const HTTP_0_23_RING: Stack = Stack {
    name: "0.23-ring-http",
    features: "ring,http",
    ..RUSTLS_0_23_RING
};
const RUSTLS_0_23_AWS_LC: Stack = Stack {
    name: "0.23-aws-lc",
    providers: &[Provider::AwsLc],
    features: "aws-lc",
    ..RUSTLS_0_23_RING
};
const HTTP_0_23_AWS_LC: Stack = Stack {
    name: "0.23-aws-lc-http",
    features: "aws-lc,http",
    ..RUSTLS_0_23_AWS_LC
};
/// As in programs whose libraries could not agree.
const RUSTLS_0_23_BOTH: Stack = Stack {
    name: "0.23-both",
    providers: &[Provider::AwsLc, Provider::Ring],
    features: "aws-lc,ring",
    ..RUSTLS_0_23_RING
};
const RUSTLS_0_22_RING: Stack = Stack {
    name: "0.22-ring",
    folder: "rustls-0.22",
    ..RUSTLS_0_23_RING
};
/// An aws-lc of early 2024.
const RUSTLS_0_22_AWS_LC: Stack = Stack {
    name: "0.22-aws-lc",
    folder: "rustls-0.22",
    needs: Some("cmake"),
    ..RUSTLS_0_23_AWS_LC
};
const RUSTLS_0_21: Stack = Stack {
    name: "0.21-ring",
    folder: "rustls-0.21",
    ..RUSTLS_0_23_RING
};
/// ring 0.17.5, whose tables have one field more than later ones.
const RUSTLS_0_21_RING_0_17_5: Stack = Stack {
    name: "0.21-ring-0.17.5",
    folder: "rustls-0.21-ring-0.17.5",
    ..RUSTLS_0_23_RING
};
/// ring 0.16.20, whose `open` takes its arguments in another order.
const RUSTLS_0_21_RING_0_16: Stack = Stack {
    name: "0.21-ring-0.16",
    folder: "rustls-0.21-ring-0.16",
    ..RUSTLS_0_23_RING
};

/// Every combination, those of an extended run included.
pub const MATRIX: &[Combination] = &[
    quick(HTTP_0_23_RING, Profile::Debug),
    quick(HTTP_0_23_RING, Profile::Lto),
    shipped(quick(HTTP_0_23_RING, Profile::Lto), After::NoSections),
    shipped(quick(HTTP_0_23_RING, Profile::Lto), After::NoUnwind),
    quick(RUSTLS_0_23_RING, Profile::Release),
    quick(RUSTLS_0_23_RING, Profile::Size),
    linked(quick(RUSTLS_0_23_RING, Profile::Lto), Shape::Fixed),
    linked(quick(RUSTLS_0_23_RING, Profile::Lto), Shape::Shared),
    quick(RUSTLS_0_22_RING, Profile::Lto),
    quick(RUSTLS_0_21, Profile::Lto),
    quick(HTTP_0_23_AWS_LC, Profile::Lto),
    shipped(quick(HTTP_0_23_AWS_LC, Profile::Lto), After::NoUnwind),
    extended(HTTP_0_23_RING, Profile::Release),
    extended(HTTP_0_23_RING, Profile::Size),
    shipped(extended(RUSTLS_0_23_RING, Profile::Size), After::NoUnwind),
    linked(extended(RUSTLS_0_23_RING, Profile::Lto), Shape::Arm64),
    linked(extended(RUSTLS_0_23_RING, Profile::Size), Shape::Arm64),
    linked(extended(RUSTLS_0_21, Profile::Lto), Shape::Arm64),
    linked(extended(RUSTLS_0_23_RING, Profile::Debug), Shape::Fixed),
    linked(extended(RUSTLS_0_23_RING, Profile::Debug), Shape::Shared),
    linked(extended(RUSTLS_0_23_RING, Profile::Lto), Shape::Relr),
    linked(extended(RUSTLS_0_23_RING, Profile::Lto), Shape::StaticGnu),
    linked(extended(RUSTLS_0_23_RING, Profile::Lto), Shape::StaticMusl),
    linked(extended(RUSTLS_0_23_RING, Profile::Release), Shape::Shared),
    linked(extended(RUSTLS_0_23_RING, Profile::Size), Shape::Fixed),
    extended(HTTP_0_23_AWS_LC, Profile::Debug),
    extended(HTTP_0_23_AWS_LC, Profile::Release),
    extended(HTTP_0_23_AWS_LC, Profile::Size),
    shipped(extended(HTTP_0_23_AWS_LC, Profile::Lto), After::NoSections),
    linked(extended(RUSTLS_0_23_AWS_LC, Profile::Lto), Shape::Fixed),
    linked(extended(RUSTLS_0_23_AWS_LC, Profile::Lto), Shape::Relr),
    linked(extended(RUSTLS_0_23_AWS_LC, Profile::Lto), Shape::Shared),
    linked(extended(RUSTLS_0_23_AWS_LC, Profile::Lto), Shape::StaticGnu),
    linked(
        extended(RUSTLS_0_23_AWS_LC, Profile::Lto),
        Shape::StaticMusl,
    ),
    extended(RUSTLS_0_23_BOTH, Profile::Lto),
    extended(RUSTLS_0_23_BOTH, Profile::Release),
    extended(RUSTLS_0_22_RING, Profile::Debug),
    extended(RUSTLS_0_22_RING, Profile::Release),
    extended(RUSTLS_0_22_RING, Profile::Size),
    extended(RUSTLS_0_22_AWS_LC, Profile::Debug),
    extended(RUSTLS_0_22_AWS_LC, Profile::Lto),
    extended(RUSTLS_0_22_AWS_LC, Profile::Release),
    extended(RUSTLS_0_22_AWS_LC, Profile::Size),
    extended(RUSTLS_0_21, Profile::Debug),
    extended(RUSTLS_0_21, Profile::Release),
    extended(RUSTLS_0_21, Profile::Size),
    extended(RUSTLS_0_21_RING_0_17_5, Profile::Debug),
    extended(RUSTLS_0_21_RING_0_17_5, Profile::Lto),
    extended(RUSTLS_0_21_RING_0_16, Profile::Debug),
    extended(RUSTLS_0_21_RING_0_16, Profile::Lto),
    extended(RUSTLS_0_21_RING_0_16, Profile::Release),
    extended(RUSTLS_0_21_RING_0_16, Profile::Size),
];

const fn quick(stack: Stack, profile: Profile) -> Combination {
    Combination {
        stack,
        profile,
        shape: Shape::Pie,
        after: After::Strip,
        extended: false,
    }
}

const fn extended(stack: Stack, profile: Profile) -> Combination {
    Combination {
        extended: true,
        ..quick(stack, profile)
    }
}

const fn linked(combination: Combination, shape: Shape) -> Combination {
    Combination {
        shape,
        ..combination
    }
}

const fn shipped(combination: Combination, after: After) -> Combination {
    Combination {
        after,
        ..combination
    }
}
