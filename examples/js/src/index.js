// What the component exports: an object of functions for each kind, as wit/deps/driver/KIND.wit declares them.
export { volume } from './volume.js';
export { authz } from './authz.js';
