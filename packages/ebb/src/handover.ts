/** `ebb/handover`: restarts of a program over which connections stay open. */
export { type HandoverOptions, handover, type Servers } from './handover/handover.js'
export type { From } from './handover/taker.js'
export type { HandedOver } from './socket/moved.js'
