/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What a process did, put together piece by piece; and paths, read from the kernel's own objects. There is no room on
 * the stack for either: they are made in memory that each CPU has.
 */
#pragma once

/* Texts may end here, and one that begins before may reach so far beyond. */
#define TEXTS_END 16192
#define TEXT_MAX 4096
#define TEXTS_MASK 0x3fff

struct act_record {
	struct event_header header;
	struct act act;
	char texts[TEXTS_MASK + 1 + TEXT_MAX];
	__u64 left; /* bytes of words or of a pipe that are still to be told */
};

/* One for each sort of caller, since one may interrupt another on its CPU. */
enum act_user {
	ACT_USER_PROCESS = 0,   /* in the process that acts, with the CPU to itself */
	ACT_USER_INTERRUPT = 1, /* packets that come */
	ACT_USER_SWEEP = 2,     /* user space's own look at the tables */
	ACT_USER_MAX = 3,
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct act_record);
	__uint(max_entries, ACT_USER_MAX);
} act_records SEC(".maps");

/* Begins an act. `len` of its header counts the bytes of texts until it is told. */
static __always_inline struct act_record *new_act(__u32 user, __u16 act)
{
	struct act_record *record = bpf_map_lookup_elem(&act_records, &user);

	if (!record)
		return NULL;
	__builtin_memset(&record->header, 0, sizeof(record->header));
	__builtin_memset(&record->act, 0, sizeof(record->act));
	record->header.kind = KIND_ACT;
	record->header.function = act;
	record->header.fd = -1;
	return record;
}

/* The same by the process that runs. */
static __always_inline struct act_record *own_act(const struct process_key *process, __u16 act)
{
	struct act_record *record = new_act(ACT_USER_PROCESS, act);

	if (record) {
		fill_caller(&record->header, process);
		record->header.kind = KIND_ACT;
	}
	return record;
}

/* Two numbers in one value. */
static __always_inline __u64 pair(__u32 low, __u32 high)
{
	return low | (__u64)high << 32;
}

static __always_inline __u32 lost_counter(__u16 act)
{
	if (act < ACT_OPEN || act >= ACT_SIGNAL)
		return COUNT_LOST_PROCESS_ACTS;
	return act < ACT_CONNECT ? COUNT_LOST_FILE_ACTS : COUNT_LOST_NETWORK_ACTS;
}

static __noinline int tell_act(struct act_record *record)
{
	__u64 size;

	if (!record)
		return 0;
	size = record->header.len;
	if (size > TEXTS_END + TEXT_MAX)
		return 0; /* never: tells the verifier */
	record->header.len = size + sizeof(record->act);
	size += sizeof(record->header) + sizeof(record->act);
	if (bpf_ringbuf_output(&ring, record, size, wakeup(size)))
		count(lost_counter(record->header.function), 1);
	return 0;
}

/* Where the next text goes; NULL: there is no room any more. */
static __always_inline char *next_text(struct act_record *record)
{
	__u32 at = record->header.len;

	return at < TEXTS_END ? &record->texts[at & TEXTS_MASK] : NULL;
}

static __always_inline void end_text(struct act_record *record, __u32 index, __u32 len, __u8 form)
{
	record->act.lens[index & (ACT_TEXTS - 1)] = len;
	record->act.forms[index & (ACT_TEXTS - 1)] = form;
	record->header.len += len;
}

/* A string of the program, without its zero. */
static __noinline int add_user_text(struct act_record *record, __u32 index, __u64 address)
{
	char *to;
	long len;

	if (!record || !address)
		return 0;
	to = next_text(record);
	if (!to)
		return 0;
	len = bpf_probe_read_user_str(to, TEXT_MAX, (void *)address);
	if (len <= 0 || len > TEXT_MAX)
		return 0;
	end_text(record, index, len - 1, len == TEXT_MAX ? TEXT_PLAIN | TEXT_TOO_LONG : TEXT_PLAIN);
	return 1;
}

static __noinline int add_kernel_text(struct act_record *record, __u32 index, const char *text)
{
	char *to;
	long len;

	if (!record)
		return 0;
	to = next_text(record);
	if (!to)
		return 0;
	len = bpf_probe_read_kernel_str(to, TEXT_MAX, text);
	if (len <= 0 || len > TEXT_MAX)
		return 0;
	end_text(record, index, len - 1, TEXT_PLAIN);
	return 1;
}

/* Bytes of the program, `len` or as many as fit. */
static __noinline int add_user_bytes(struct act_record *record, __u32 index, __u64 address,
				     __u64 len)
{
	__u8 form = TEXT_PLAIN;
	char *to;

	if (!record || !address || !len)
		return 0;
	to = next_text(record);
	if (!to)
		return 0;
	if (len > TEXT_MAX) {
		len = TEXT_MAX;
		form |= TEXT_TOO_LONG;
	}
	if (bpf_probe_read_user(to, len, (void *)address))
		return 0;
	end_text(record, index, len, form);
	return 1;
}

/* From a place up to the process's root. */
struct walk {
	struct dentry *dentry;
	struct mount *mount;
	struct dentry *root;
	struct mount *root_mount;
	struct act_record *record;
	__u32 at; /* in `texts` */
	__u32 end;
	__u8 form;
};

static __always_inline struct mount *mount_of(struct vfsmount *mount)
{
	return (void *)mount - bpf_core_field_offset(struct mount, mnt);
}

/* One name, or one mount: 1 ends it. */
static long walk_step(__u32 round, struct walk *walk)
{
	struct dentry *dentry = walk->dentry, *parent = BPF_CORE_READ(dentry, d_parent);
	struct mount *mount = walk->mount, *above;
	long len;

	if (dentry == walk->root && mount == walk->root_mount) {
		walk->form = TEXT_WALKED;
		return 1;
	}
	if (dentry == BPF_CORE_READ(mount, mnt.mnt_root)) {
		above = BPF_CORE_READ(mount, mnt_parent);
		walk->dentry = BPF_CORE_READ(mount, mnt_mountpoint);
		walk->mount = above;
		walk->form = TEXT_OUTSIDE;
		return above == mount;
	}
	if (walk->at >= walk->end)
		return 1;
	len = bpf_probe_read_kernel_str(&walk->record->texts[walk->at & TEXTS_MASK], 256,
					BPF_CORE_READ(dentry, d_name.name));
	if (len <= 0)
		return 1;
	walk->at += len;
	walk->dentry = parent;
	walk->form = TEXT_CUT;
	if (parent != dentry)
		return 0;
	walk->form = TEXT_OUTSIDE;
	return 1;
}

/* Where `path` is, as the caller sees it. */
static __noinline int add_path(struct act_record *record, __u32 index, struct path *path)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct walk walk = { .form = TEXT_CUT };
	struct dentry *dentry;
	bool is_deleted;

	if (!record || !path)
		return 0;
	walk.record = record;
	walk.at = record->header.len;
	walk.end = walk.at + TEXT_MAX - 256;
	if (walk.at >= TEXTS_END)
		return 0;
	if (walk.end > TEXTS_END)
		walk.end = TEXTS_END;
	dentry = BPF_CORE_READ(path, dentry);
	walk.dentry = dentry;
	walk.mount = mount_of(BPF_CORE_READ(path, mnt));
	walk.root = BPF_CORE_READ(task, fs, root.dentry);
	walk.root_mount = mount_of(BPF_CORE_READ(task, fs, root.mnt));
	is_deleted =
		!BPF_CORE_READ(dentry, d_hash.pprev) && dentry != BPF_CORE_READ(dentry, d_parent);
	if (use_bpf_loop) {
		bpf_loop(WALK_STEPS_MAX, walk_step, &walk, 0);
	} else {
		for (__u32 round = 0; round < WALK_STEPS_MAX_UNROLLED; round++)
			if (walk_step(round, &walk))
				break;
	}
	end_text(record, index, walk.at - record->header.len,
		 is_deleted ? walk.form | TEXT_DELETED : walk.form);
	return 1;
}

static __always_inline int add_file_path(struct act_record *record, __u32 index, struct file *file)
{
	return add_path(record, index,
			(struct path *)((void *)file + bpf_core_field_offset(file->f_path)));
}

static __always_inline int add_cwd(struct act_record *record, __u32 index)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct fs_struct *fs = BPF_CORE_READ(task, fs);

	return add_path(record, index,
			(struct path *)((void *)fs + bpf_core_field_offset(fs->pwd)));
}
