// Volumes as directories that the host keeps for the plugin.
import * as directories from 'dockside:host/directories@0.1.0';
import { log } from 'wasi:logging/logging@0.1.0-draft';
import { DriverError } from './error.js';
import { Table } from './table.js';

const volumes = new Table('volumes/');

// `docker volume create -o mode=0750`
function modeOf(options) {
  let mode = '0755';
  for (const [name, value] of options) {
    if (name !== 'mode') throw new DriverError('invalid-argument', `there is no option ${name}: this driver has mode`);
    mode = value;
  }
  if (!/^[0-7]{3,4}$/.test(mode)) {
    throw new DriverError('invalid-argument', `option mode=${mode}: say permissions in octal, such as 0750`);
  }
  return parseInt(mode, 8);
}

function find(name) {
  const known = volumes.get(name);
  if (!known) throw new DriverError('not-found', `there is no volume ${JSON.stringify(name)}`);
  return known;
}

// The volume's directory; undefined if somebody removed it from the machine.
function directoryOf(name) {
  try {
    return directories.open(name);
  } catch (error) {
    if (error.payload?.tag === 'not-found') return undefined;
    throw failed(error);
  }
}

// A refusal of the host's, as the user of docker is told it.
function failed(error) {
  switch (error.payload?.tag) {
    case 'in-use':
      return new DriverError('in-use', 'something is mounted in the directory of the volume');
    case 'quota-exceeded':
      return new DriverError('exhausted', 'no further directory: raise max in [grants.directories], or remove a volume');
    case 'other':
      return new DriverError('other', error.payload.val);
    default:
      return error;
  }
}

export const volume = {
  capabilities() {
    return { scope: 'local' };
  },

  create(name, options) {
    const mode = modeOf(options);
    const known = volumes.get(name);
    if (known) {
      if (known.mode === mode) return;
      throw new DriverError('already-exists', `volume ${JSON.stringify(name)} exists already, with other options`);
    }
    try {
      directories.create(name, { mode });
    } catch (error) {
      throw failed(error);
    }
    volumes.set(name, { mode });
    log('info', 'volume', `created ${name}`);
  },

  remove(name) {
    if (!volumes.has(name)) return;
    try {
      if (directoryOf(name)) directories.remove(name);
    } catch (error) {
      throw failed(error);
    }
    volumes.delete(name);
  },

  mount(name, id) {
    find(name);
    const directory = directoryOf(name);
    if (directory) return directory;
    throw new DriverError('unavailable', `the directory of volume ${JSON.stringify(name)} is gone from this machine`);
  },

  unmount(name, id) {},

  get(name) {
    const { mode } = find(name);
    return { name, mountpoint: directoryOf(name), status: [['mode', mode.toString(8).padStart(4, '0')]] };
  },

  list() {
    return volumes.keys().map((name) => ({ name, status: [] }));
  },

  path(name) {
    find(name);
    return directoryOf(name);
  },
};
