/** One peer in one round: the experiment, and four copies of it on one box. What was measured is read from its files. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { experiment, report } from 'ebb-lab'
import { box } from './box.mjs'

/** A peer that takes longer has hung, ms. */
const LONGEST = 240_000
/** Written last: a folder with it is whole. */
const LAST = 'box.json'

/**
 * Resolves with the verdict, and `proportional`, its share of a box that has four copies of it. `folder` is made anew, with the
 * recordings in it.
 */
export async function measure(peer, folder, plan, signal) {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  const until = AbortSignal.any([signal, AbortSignal.timeout(LONGEST)])
  const own = planFor(peer, plan)
  await experiment([{ name: peer.name, command: peer.command }], { plan: own, out: folder, signal: until })
  const proportional = await box(peer.command, own.small, until)
  writeFileSync(join(folder, LAST), `${JSON.stringify({ plan: own, proportional })}\n`)
  return await measured(peer, folder, plan)
}

/** The same as it was measured before, or undefined where it was not, or not by this plan. */
export async function measured(peer, folder, plan) {
  if (!existsSync(join(folder, LAST))) return undefined
  const box = JSON.parse(readFileSync(join(folder, LAST), 'utf8'))
  if (JSON.stringify(box.plan) !== JSON.stringify(planFor(peer, plan))) return undefined
  const recordings = readdirSync(folder)
    .filter((name) => name.endsWith('.ndjson'))
    .map((name) => join(folder, name))
  const { verdicts } = await report(recordings)
  return { verdict: verdicts[0], proportional: box.proportional, recordings }
}

/** The plan, with no more connections than the peer can hold. */
function planFor({ most = Number.POSITIVE_INFINITY }, plan) {
  return { ...plan, big: Math.min(plan.big, most) }
}
