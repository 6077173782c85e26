// Puts the doubles in host/ in place of what the driver imports from dockside: `wasi:keyvalue/store@...` is host/wasi-keyvalue-store.js.
import { register } from 'node:module';

register('./host/resolve.js', import.meta.url);
