//! The structs that the engine decodes request bodies into.
//!
//! One table holds the fields of every engine from 20.10 on: a field that an engine does not have is ignored by it in any spelling, so that
//! renaming it does no harm. Source: the types behind the handlers in `moby: api/types`, `daemon/server/router`; Docker's own spelling in JSON.
//! Fields named alone hold scalars or lists of scalars.

use super::shape::{Field, Shape};
use Shape::{Free, List, Map, Struct, Words};

/// Maps from text to text: labels, options.
const TEXTS: Shape = Map(&Free);

/// Declares groups of fields: `NAME { Field, Field: SHAPE }`.
macro_rules! fields {
    ($($name:ident { $($field:ident $(: $shape:expr)?),* $(,)? })*) => {
        $(const $name: &[Field] = &[$((stringify!($field), fields!(@ $($shape)?))),*];)*
    };
    (@) => { Free };
    (@ $shape:expr) => { $shape };
}

fields! {
    CONFIG {
        Hostname, Domainname, User, AttachStdin, AttachStdout, AttachStderr, ExposedPorts: TEXTS, Tty, OpenStdin, StdinOnce, Env, Cmd: Words,
        Healthcheck: Struct(&[HEALTHCHECK]), ArgsEscaped, Image, Volumes: TEXTS, WorkingDir, Entrypoint: Words, NetworkDisabled, MacAddress,
        OnBuild, Labels: TEXTS, StopSignal, StopTimeout, Shell: Words,
    }
    HEALTHCHECK { Test, Interval, Timeout, StartPeriod, StartInterval, Retries }
    RESOURCES {
        CpuShares, Memory, NanoCpus, CgroupParent, BlkioWeight, BlkioWeightDevice: List(&Struct(&[WEIGHT_DEVICE])),
        BlkioDeviceReadBps: List(&Struct(&[THROTTLE_DEVICE])), BlkioDeviceWriteBps: List(&Struct(&[THROTTLE_DEVICE])),
        BlkioDeviceReadIOps: List(&Struct(&[THROTTLE_DEVICE])), BlkioDeviceWriteIOps: List(&Struct(&[THROTTLE_DEVICE])),
        CpuPeriod, CpuQuota, CpuRealtimePeriod, CpuRealtimeRuntime, CpusetCpus, CpusetMems, Devices: List(&Struct(&[DEVICE])),
        DeviceCgroupRules, DeviceRequests: List(&Struct(&[DEVICE_REQUEST])), DiskQuota, KernelMemory, KernelMemoryTCP, MemoryReservation,
        MemorySwap, MemorySwappiness, OomKillDisable, PidsLimit, Ulimits: List(&Struct(&[ULIMIT])), CpuCount, CpuPercent, IOMaximumIOps,
        IOMaximumBandwidth,
    }
    WEIGHT_DEVICE { Path, Weight }
    THROTTLE_DEVICE { Path, Rate }
    DEVICE { PathOnHost, PathInContainer, CgroupPermissions }
    DEVICE_REQUEST { Driver, Count, DeviceIDs, Capabilities, Options: TEXTS }
    ULIMIT { Name, Hard, Soft }
    HOST_CONFIG {
        Binds, ContainerIDFile, LogConfig: Struct(&[LOG_CONFIG]), NetworkMode, PortBindings: Map(&List(&Struct(&[PORT_BINDING]))),
        RestartPolicy: Struct(&[RESTART_POLICY]), AutoRemove, VolumeDriver, VolumesFrom, ConsoleSize, Annotations: TEXTS, CapAdd: Words,
        CapDrop: Words, CgroupnsMode, Dns, DnsOptions, DnsSearch, ExtraHosts, GroupAdd, IpcMode, Cgroup, Links, OomScoreAdj,
        PidMode, Privileged, PublishAllPorts, ReadonlyRootfs, SecurityOpt, StorageOpt: TEXTS, Tmpfs: TEXTS, UTSMode, UsernsMode, ShmSize,
        Sysctls: TEXTS, Runtime, Isolation, Mounts: List(&Struct(&[MOUNT])), MaskedPaths, ReadonlyPaths, Init,
    }
    LOG_CONFIG { Type, Config: TEXTS }
    PORT_BINDING { HostIp, HostPort }
    RESTART_POLICY { Name, MaximumRetryCount }
    MOUNT {
        Type, Source, Target, ReadOnly, Consistency, BindOptions: Struct(&[BIND_OPTIONS]), VolumeOptions: Struct(&[VOLUME_OPTIONS]),
        ImageOptions: Struct(&[IMAGE_OPTIONS]), TmpfsOptions: Struct(&[TMPFS_OPTIONS]), ClusterOptions,
    }
    BIND_OPTIONS { Propagation, NonRecursive, CreateMountpoint, ReadOnlyNonRecursive, ReadOnlyForceRecursive }
    VOLUME_OPTIONS { NoCopy, Labels: TEXTS, Subpath, DriverConfig: Struct(&[DRIVER]) }
    IMAGE_OPTIONS { Subpath }
    TMPFS_OPTIONS { SizeBytes, Mode, Options }
    DRIVER { Name, Options: TEXTS }
    CREATE_ONLY { HostConfig: Struct(&[HOST_CONFIG, RESOURCES]), NetworkingConfig: Struct(&[NETWORKING_CONFIG]), Cpuset }
    NETWORKING_CONFIG { EndpointsConfig: Map(&Struct(&[ENDPOINT_SETTINGS])) }
    ENDPOINT_SETTINGS {
        IPAMConfig: Struct(&[ENDPOINT_IPAM]), Links, Aliases, MacAddress, DriverOpts: TEXTS, GwPriority, DNSNames, NetworkID, EndpointID,
        Gateway, IPAddress, IPPrefixLen, IPv6Gateway, GlobalIPv6Address, GlobalIPv6PrefixLen,
    }
    ENDPOINT_IPAM { IPv4Address, IPv6Address, LinkLocalIPs }
    EXEC_CREATE {
        User, Privileged, Tty, ConsoleSize, AttachStdin, AttachStderr, AttachStdout, Detach, DetachKeys, Env, WorkingDir, Cmd, Container,
    }
    EXEC_START_FIELDS { Detach, Tty, ConsoleSize }
    COPY_FIELDS { Resource }
    CHECKPOINT_FIELDS { CheckpointID, CheckpointDir, Exit }
    VOLUME {
        Name, Driver, DriverOpts: TEXTS, Labels: TEXTS, ClusterVolumeSpec: Struct(&[CLUSTER_VOLUME]),
    }
    VOLUME_SPEC { Spec: Struct(&[CLUSTER_VOLUME]) }
    CLUSTER_VOLUME {
        Group, AccessMode: Struct(&[ACCESS_MODE]), AccessibilityRequirements: Struct(&[TOPOLOGIES]), CapacityRange: Struct(&[CAPACITY]),
        Secrets: List(&Struct(&[VOLUME_SECRET])), Availability,
    }
    ACCESS_MODE { Scope, Sharing, MountVolume: Struct(&[MOUNT_VOLUME]), BlockVolume }
    MOUNT_VOLUME { FsType, MountFlags }
    TOPOLOGIES { Requisite: List(&Struct(&[TOPOLOGY])), Preferred: List(&Struct(&[TOPOLOGY])) }
    TOPOLOGY { Segments: TEXTS }
    CAPACITY { RequiredBytes, LimitBytes }
    VOLUME_SECRET { Key, Secret }
    NETWORK {
        Name, CheckDuplicate, Driver, Scope, EnableIPv4, EnableIPv6, IPAM: Struct(&[IPAM]), Internal, Attachable, Ingress, ConfigOnly,
        ConfigFrom: Struct(&[NETWORK_REFERENCE]), Options: TEXTS, Labels: TEXTS,
    }
    IPAM { Driver, Options: TEXTS, Config: List(&Struct(&[IPAM_CONFIG])) }
    IPAM_CONFIG { Subnet, IPRange, Gateway, AuxiliaryAddresses: TEXTS }
    NETWORK_REFERENCE { Network }
    CONNECT { Container, EndpointConfig: Struct(&[ENDPOINT_SETTINGS]) }
    DISCONNECT { Container, Force }
    AUTH { username, password, auth, email, serveraddress, identitytoken, registrytoken }
    PRIVILEGE { Name, Description, Value }
    ANNOTATIONS { Name, Labels: TEXTS }
    SERVICE_ONLY {
        TaskTemplate: Struct(&[TASK]), Mode: Struct(&[SERVICE_MODE]), UpdateConfig: Struct(&[UPDATE]), RollbackConfig: Struct(&[UPDATE]),
        Networks: List(&Struct(&[ATTACHMENT])), EndpointSpec: Struct(&[ENDPOINT_SPEC]),
    }
    TASK {
        ContainerSpec: Struct(&[CONTAINER_SPEC]), PluginSpec: Struct(&[PLUGIN_SPEC]), NetworkAttachmentSpec: Struct(&[ATTACHMENT_SPEC]),
        Resources: Struct(&[TASK_RESOURCES]), RestartPolicy: Struct(&[TASK_RESTART]), Placement: Struct(&[PLACEMENT]),
        Networks: List(&Struct(&[ATTACHMENT])), LogDriver: Struct(&[DRIVER]), ForceUpdate, Runtime,
    }
    CONTAINER_SPEC {
        Image, Labels: TEXTS, Command, Args, Hostname, Env, Dir, User, Groups, Privileges: Struct(&[PRIVILEGES]), Init, StopSignal, TTY,
        OpenStdin, ReadOnly, Mounts: List(&Struct(&[MOUNT])), StopGracePeriod, Healthcheck: Struct(&[HEALTHCHECK]), Hosts,
        DNSConfig: Struct(&[DNS_CONFIG]), Secrets: List(&Struct(&[SECRET_REFERENCE])), Configs: List(&Struct(&[CONFIG_REFERENCE])), Isolation,
        Sysctls: TEXTS, CapabilityAdd, CapabilityDrop, Ulimits: List(&Struct(&[ULIMIT])), OomScoreAdj,
    }
    PRIVILEGES {
        CredentialSpec: Struct(&[CREDENTIAL_SPEC]), SELinuxContext: Struct(&[SELINUX]), Seccomp: Struct(&[SECCOMP]),
        AppArmor: Struct(&[APPARMOR]), NoNewPrivileges,
    }
    CREDENTIAL_SPEC { Config, File, Registry }
    SELINUX { Disable, User, Role, Type, Level }
    SECCOMP { Mode, Profile }
    APPARMOR { Mode }
    DNS_CONFIG { Nameservers, Search, Options }
    SECRET_REFERENCE { File: Struct(&[TARGET_FILE]), SecretID, SecretName }
    CONFIG_REFERENCE { File: Struct(&[TARGET_FILE]), Runtime, ConfigID, ConfigName }
    TARGET_FILE { Name, UID, GID, Mode }
    PLUGIN_SPEC { name, remote, privileges: List(&Struct(&[PLUGIN_PRIVILEGE])), disabled, env }
    PLUGIN_PRIVILEGE { name, description, value }
    ATTACHMENT_SPEC { ContainerID }
    TASK_RESOURCES { Limits: Struct(&[AMOUNTS]), Reservations: Struct(&[AMOUNTS]), SwapBytes, MemorySwappiness }
    AMOUNTS { NanoCPUs, MemoryBytes, Pids, GenericResources: List(&Struct(&[GENERIC])) }
    GENERIC { NamedResourceSpec: Struct(&[KIND_VALUE]), DiscreteResourceSpec: Struct(&[KIND_VALUE]) }
    KIND_VALUE { Kind, Value }
    TASK_RESTART { Condition, Delay, MaxAttempts, Window }
    PLACEMENT { Constraints, Preferences: List(&Struct(&[PREFERENCE])), MaxReplicas, Platforms: List(&Struct(&[PLATFORM])) }
    PREFERENCE { Spread: Struct(&[SPREAD]) }
    SPREAD { SpreadDescriptor }
    PLATFORM { Architecture, OS }
    ATTACHMENT { Target, Aliases, DriverOpts: TEXTS }
    SERVICE_MODE { Replicated: Struct(&[REPLICATED]), Global, ReplicatedJob: Struct(&[REPLICATED_JOB]), GlobalJob }
    REPLICATED { Replicas }
    REPLICATED_JOB { MaxConcurrent, TotalCompletions }
    UPDATE { Parallelism, Delay, FailureAction, Monitor, MaxFailureRatio, Order }
    ENDPOINT_SPEC { Mode, Ports: List(&Struct(&[PORT])) }
    PORT { Name, Protocol, TargetPort, PublishedPort, PublishMode }
    SECRET_ONLY { Data, Driver: Struct(&[DRIVER]), Templating: Struct(&[DRIVER]) }
    CONFIG_ONLY { Data, Templating: Struct(&[DRIVER]) }
    NODE_ONLY { Role, Availability }
    CLUSTER_ONLY {
        Orchestration: Struct(&[ORCHESTRATION]), Raft: Struct(&[RAFT]), Dispatcher: Struct(&[DISPATCHER]), CAConfig: Struct(&[CA]),
        TaskDefaults: Struct(&[TASK_DEFAULTS]), EncryptionConfig: Struct(&[ENCRYPTION]),
    }
    ORCHESTRATION { TaskHistoryRetentionLimit }
    RAFT { SnapshotInterval, KeepOldSnapshots, LogEntriesForSlowFollowers, ElectionTick, HeartbeatTick }
    DISPATCHER { HeartbeatPeriod }
    CA { NodeCertExpiry, ExternalCAs: List(&Struct(&[EXTERNAL_CA])), SigningCACert, SigningCAKey, ForceRotate }
    EXTERNAL_CA { Protocol, URL, Options: TEXTS, CACert }
    TASK_DEFAULTS { LogDriver: Struct(&[DRIVER]) }
    ENCRYPTION { AutoLockManagers }
    INIT {
        ListenAddr, AdvertiseAddr, DataPathAddr, DataPathPort, ForceNewCluster, Spec: Struct(&[ANNOTATIONS, CLUSTER_ONLY]), AutoLockManagers,
        Availability, DefaultAddrPool, SubnetSize,
    }
    JOIN { ListenAddr, AdvertiseAddr, DataPathAddr, RemoteAddrs, JoinToken, Availability }
    UNLOCK { UnlockKey }
}

/// `containers/create`, `commit`, and the start of a container with a body. Up to engine 23 a host configuration's fields are also read from
/// the top level.
pub(super) const CREATE: Shape = Struct(&[CONFIG, CREATE_ONLY, HOST_CONFIG, RESOURCES]);
/// The fields of [`CREATE`] that belong below `HostConfig`.
pub(super) const HOST: &[&[Field]] = &[HOST_CONFIG, RESOURCES, &[("Cpuset", Free)]];
pub(super) const CONTAINER_UPDATE: Shape =
    Struct(&[RESOURCES, &[("RestartPolicy", Struct(&[RESTART_POLICY]))]]);
pub(super) const EXEC: Shape = Struct(&[EXEC_CREATE]);
pub(super) const EXEC_START: Shape = Struct(&[EXEC_START_FIELDS]);
pub(super) const COPY: Shape = Struct(&[COPY_FIELDS]);
pub(super) const CHECKPOINT: Shape = Struct(&[CHECKPOINT_FIELDS]);
pub(super) const VOLUME_CREATE: Shape = Struct(&[VOLUME]);
pub(super) const VOLUME_UPDATE: Shape = Struct(&[VOLUME_SPEC]);
pub(super) const NETWORK_CREATE: Shape = Struct(&[NETWORK]);
pub(super) const NETWORK_CONNECT: Shape = Struct(&[CONNECT]);
pub(super) const NETWORK_DISCONNECT: Shape = Struct(&[DISCONNECT]);
pub(super) const SERVICE: Shape = Struct(&[ANNOTATIONS, SERVICE_ONLY]);
pub(super) const SECRET: Shape = Struct(&[ANNOTATIONS, SECRET_ONLY]);
pub(super) const SWARM_CONFIG: Shape = Struct(&[ANNOTATIONS, CONFIG_ONLY]);
pub(super) const NODE: Shape = Struct(&[ANNOTATIONS, NODE_ONLY]);
pub(super) const SWARM_INIT: Shape = Struct(&[INIT]);
pub(super) const SWARM_JOIN: Shape = Struct(&[JOIN]);
pub(super) const SWARM_UPDATE: Shape = Struct(&[ANNOTATIONS, CLUSTER_ONLY]);
pub(super) const SWARM_UNLOCK: Shape = Struct(&[UNLOCK]);
pub(super) const PLUGIN_PRIVILEGES: Shape = List(&Struct(&[PRIVILEGE]));
pub(super) const CREDENTIALS: Shape = Struct(&[AUTH]);
