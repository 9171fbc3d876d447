/** Measures one server in one round, and reads back what was measured from its files. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { experiment, report } from 'ebb-lab'
import { box } from './box.mjs'

/** @import { Plan, Verdict } from 'ebb-lab' */
/** @import { Server } from '../harness/servers.mjs' */

/** Milliseconds after which a server counts as hung. */
const TIMEOUT = 240_000
/** The file that is written last: a folder that has it is complete. */
const BOX_FILE = 'box.json'

/**
 * What was measured of a server in a round.
 *
 * @typedef {object} Measured
 * @property {Verdict} verdict
 * @property {number} proportional mean PSS of four copies on one machine, bytes
 * @property {readonly string[]} recordings paths of the recordings
 */

/**
 * @typedef {object} BoxFile
 * @property {Plan} plan
 * @property {number} proportional
 */

/**
 * Runs the experiment on a server, then four copies of it, and resolves with the figures. Empties `folder` first, and
 * leaves the recordings in it.
 *
 * @param {Server} server
 * @param {string} folder
 * @param {Plan} plan
 * @param {AbortSignal} signal
 */
export async function measure(server, folder, plan, signal) {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  const until = AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT)])
  const own = planFor(server, plan)
  await experiment([{ name: server.name, command: [...server.command] }], { plan: own, out: folder, signal: until })
  const proportional = await box(server.command, own.small, until)
  /** @type {BoxFile} */
  const file = { plan: own, proportional }
  writeFileSync(join(folder, BOX_FILE), `${JSON.stringify(file)}\n`)
  const figures = await measured(server, folder, plan)
  if (figures === undefined) throw new Error(`${folder} has no verdict`)
  return figures
}

/**
 * Resolves with the figures of an earlier run, or with undefined if there is none or if it had another plan.
 *
 * @param {Server} server
 * @param {string} folder
 * @param {Plan} plan
 * @returns {Promise<Measured | undefined>}
 */
export async function measured(server, folder, plan) {
  const path = join(folder, BOX_FILE)
  if (!existsSync(path)) return undefined
  const box = /** @type {BoxFile} */ (JSON.parse(readFileSync(path, 'utf8')))
  if (JSON.stringify(box.plan) !== JSON.stringify(planFor(server, plan))) return undefined
  const recordings = readdirSync(folder)
    .filter((name) => name.endsWith('.ndjson'))
    .map((name) => join(folder, name))
  const [verdict] = (await report(recordings)).verdicts
  return verdict && { verdict, proportional: box.proportional, recordings }
}

/**
 * Returns the plan with at most as many connections as the server can hold.
 *
 * @param {Server} server
 * @param {Plan} plan
 * @returns {Plan}
 */
function planFor({ most = Number.POSITIVE_INFINITY }, plan) {
  return { ...plan, big: Math.min(plan.big, most) }
}
