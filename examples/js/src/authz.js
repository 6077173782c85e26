// A sample policy: nobody but the administrators gets a privileged container, a part of the machine's file system, or what cannot be judged.
import { get as configured } from 'wasi:config/store@0.2.0-rc.1';

const allow = { tag: 'allow' };
const deny = (reason) => ({ tag: 'deny', val: reason });

function isAdministrator(user) {
  const administrators = (configured('administrators') ?? '').split(',').map((name) => name.trim());
  return Boolean(user) && administrators.includes(user);
}

const isHostPath = (source) => source.startsWith('/') || source.startsWith('~') || source.startsWith('.');

// Why a container must not be made; undefined if it may. Docker's field names come in Docker's spelling, each once.
function containerObjection({ HostConfig: host }) {
  if (host?.Privileged) return 'privileged containers are not allowed';
  if ((host?.Binds ?? []).some(isHostPath)) return 'directories of the machine are not allowed in containers';
  for (const mount of host?.Mounts ?? []) {
    if (mount.Type !== 'volume' && mount.Type !== 'tmpfs') return `mounts of type ${mount.Type} are not allowed`;
    if (mount.VolumeOptions?.DriverConfig?.Options) return 'options for new volumes are not allowed in mounts';
  }
  for (const space of ['PidMode', 'IpcMode', 'UTSMode', 'UsernsMode', 'NetworkMode', 'CgroupnsMode']) {
    if (host?.[space] === 'host') return `${space} host is not allowed`;
  }
  return undefined;
}

// The requests that are looked into: what their bodies must not say.
const JUDGED = [
  ['POST', /^containers\/create$/, containerObjection],
  ['POST', /^containers\/[^/]+\/exec$/, ({ Privileged }) => (Privileged ? 'privileged commands are not allowed' : undefined)],
  ['POST', /^volumes\/create$/, ({ DriverOpts }) => (DriverOpts?.device ? 'volumes of devices and directories are not allowed' : undefined)],
];
// Connections that Docker hands over: nobody sees what is said there.
const UNSEEN = /^(session|grpc)$/;

export const authz = {
  authzReq({ user, method, path, body }) {
    if (isAdministrator(user)) return allow;
    // A name with a slash in it must not look like two parts of a path.
    const route = path.map(encodeURIComponent).join('/');
    if (UNSEEN.test(route)) return deny(`/${route} is not allowed, because what is said there cannot be judged`);
    const found = JUDGED.find(([verb, pattern]) => verb === method && pattern.test(route));
    if (!found) return allow;
    if (body.tag !== 'json') return deny(`the body of ${method} /${route} is not there to be judged`);
    const content = JSON.parse(body.val);
    const reason = found[2](content && typeof content === 'object' ? content : {});
    return reason ? deny(reason) : allow;
  },

  // Docker has done it by now: a denial would only hide the answer.
  authzRes() {
    return allow;
  },
};
