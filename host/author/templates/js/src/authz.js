// A sample policy: nobody but the administrators gets a privileged container, a part of the machine's file system, or what cannot be judged.
import { get as configured } from 'wasi:config/store@0.2.0-rc.1';

const allow = { tag: 'allow' };
const deny = (reason) => ({ tag: 'deny', val: reason });

function isAdministrator(user) {
  const administrators = (configured('administrators') ?? '').split(',').map((name) => name.trim());
  return Boolean(user) && administrators.includes(user);
}

const isHostPath = (source) => source.startsWith('/') || source.startsWith('~') || source.startsWith('.');

// What is neither true nor false is not left to the engine.
const isSet = (value) => value !== undefined && value !== null && value !== false;

// Why a container must not be made; undefined if it may. Docker's field names come in Docker's spelling, each once.
function containerObjection({ HostConfig: host }) {
  if (isSet(host?.Privileged)) return 'privileged containers are not allowed';
  if ((host?.Binds ?? []).some(isHostPath)) return 'directories of the machine are not allowed in containers';
  for (const mount of host?.Mounts ?? []) {
    if (mount.Type !== 'volume' && mount.Type !== 'tmpfs') return `mounts of type ${mount.Type} are not allowed`;
    if (Object.keys(mount.VolumeOptions?.DriverConfig?.Options ?? {}).length > 0) return 'options for new volumes are not allowed in mounts';
  }
  for (const space of ['PidMode', 'IpcMode', 'UTSMode', 'UsernsMode', 'NetworkMode', 'CgroupnsMode']) {
    if (host?.[space] === 'host') return `${space} host is not allowed`;
  }
  return undefined;
}

// The requests that are looked into: what their bodies must not say.
const JUDGED = [
  ['POST', /^containers\/create$/, containerObjection],
  ['POST', /^containers\/[^/]+\/exec$/, ({ Privileged }) => (isSet(Privileged) ? 'privileged commands are not allowed' : undefined)],
  ['POST', /^volumes\/create$/, ({ DriverOpts }) => (DriverOpts?.device ? 'volumes of devices and directories are not allowed' : undefined)],
];
// Older engines take a container's configuration here once more.
const START = /^containers\/[^/]+\/start$/;
// Daily work, which says nothing of the machine. What is on neither list is denied, so a new endpoint of Docker's is no way around the policy.
const DAILY = [
  ['POST', /^auth$|^(containers|networks|volumes)\/prune$|^networks\/create$|^images\/./],
  ['POST', /^containers\/[^/]+\/(stop|restart|kill|pause|unpause|wait|resize|attach|rename)$/],
  ['POST', /^exec\/[^/]+\/(start|resize)$|^networks\/[^/]+\/(connect|disconnect)$/],
  ['PUT', /^containers\/[^/]+\/archive$/],
  ['DELETE', /^(containers|networks|volumes)\/[^/]+$|^images\/./],
];
// Connections that Docker hands over: nobody sees what is said there.
const UNSEEN = /^(session|grpc)$/;

export const authz = {
  authzReq({ user, method, path, body }) {
    if (isAdministrator(user)) return allow;
    // A name with a slash in it must not look like two parts of a path.
    const route = path.map(encodeURIComponent).join('/');
    if (UNSEEN.test(route)) return deny(`/${route} is not allowed, because what is said there cannot be judged`);
    if (method === 'GET' || method === 'HEAD') return allow;
    const find = (list) => list.find(([verb, pattern]) => verb === method && pattern.test(route));
    if (find(DAILY)) return allow;
    if (method === 'POST' && START.test(route)) return body.tag === 'none' ? allow : deny('a configuration at the start of a container is not allowed');
    const found = find(JUDGED);
    if (!found) return deny(`${method} /${route} is not among the requests that this policy knows`);
    const content = body.tag === 'json' ? JSON.parse(body.val) : undefined;
    if (!content || typeof content !== 'object' || Array.isArray(content)) {
      return deny(`the body of ${method} /${route} is not there to be judged`);
    }
    const reason = found[2](content);
    return reason ? deny(reason) : allow;
  },

  // Docker has done it by now: a denial would only hide the answer.
  authzRes() {
    return allow;
  },
};
