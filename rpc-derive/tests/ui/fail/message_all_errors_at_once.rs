use rpc_core::message;


/// Each line that is wrong is reported, and what uses the type is not.
#[message]
#[repr(C)]
struct Profile {
    count: usize,
    name: &'static str,
}

#[message]
struct Outer {
    profile: Profile,
    profiles: Vec<Profile>,
}

fn use_it(profile: &Profile, archived: &rpc_core::Archived<Profile>, _: &ArchivedProfile) -> usize {
    let _ = archived;
    profile.count
}

fn main() {}
