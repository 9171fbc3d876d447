/**
 * `ebb/run`: the command `ebb run` as a function. Programs use the command; `ebb-lab` uses this, so that its own
 * command `ebb` knows `run`, too.
 */
export { runCommand } from './run/command.js'
