/** `ebb/handover`: restarts of a program over which connections stay open. */
export type { HandedOver } from './handover/giver.js'
export { type HandoverOptions, handover, type Servers } from './handover/handover.js'
export type { From } from './handover/taker.js'
