/** Results in two columns: names and values. */
import { total } from '../../pulse/causes.js'
import type { TargetResult } from '../../pulse/opened.js'
import type { SwarmReport } from '../../pulse/swarm/report.js'
import { clean } from '../../units/text.js'
import { causes } from './causes.js'

const WIDTH = 17

/** Formats rows as two aligned columns. */
export function columnsOf(rows: readonly [string, string][]): string {
  return rows.map(([name, value]) => `${name.padEnd(WIDTH - 1)} ${value}`).join('\n')
}

/** Agents that get a row of their own. Agents with the most failures come first. */
const MOST_AGENTS = 20

/** Returns the rows of several servers: what each accepted and failed. */
export function targetRows(targets: readonly TargetResult[]): [string, string][] {
  const rows = targets.map(({ target, connected, failed }): [string, string] => {
    const failures = total(failed) > 0 ? `; ${total(failed)} failed: ${causes(failed)}` : ''
    return [`  ${clean(target)}`, `${connected} connected${failures}`]
  })
  return [['servers', String(targets.length)], ...rows]
}

/** Returns the rows of a swarm's report: its agents, and how close together they started. */
export function swarmRows(report: SwarmReport): [string, string][] {
  const { agents, spread, error } = report
  const lost = agents.filter(({ gone }) => gone !== null).length
  const rows: [string, string][] = [['agents', `${agents.length}${lost > 0 ? `, ${lost} lost: degraded` : ''}`]]
  if (spread !== null) rows.push(['started within', `${spread.toFixed(1)} ms (± ${(error ?? 0).toFixed(1)} ms)`])
  const failures = (agent: (typeof agents)[number]): number =>
    total(agent.failed) + total(agent.lost) + total(agent.unanswered) + (agent.gone === null ? 0 : 1)
  const shown = agents.toSorted((a, b) => failures(b) - failures(a)).slice(0, MOST_AGENTS)
  for (const agent of shown) {
    const parts = [`${agent.connected} connected`]
    if (total(agent.failed) > 0) parts.push(`${total(agent.failed)} failed: ${causes(agent.failed)}`)
    if (total(agent.lost) > 0) parts.push(`${total(agent.lost)} lost: ${causes(agent.lost)}`)
    if (total(agent.unanswered) > 0) parts.push(`${total(agent.unanswered)} not answered: ${causes(agent.unanswered)}`)
    if (agent.gone !== null) parts.push(agent.gone)
    rows.push([`  ${clean(agent.name)}`, clean(parts.join('; '))])
  }
  if (agents.length > MOST_AGENTS) rows.push(['', `and ${agents.length - MOST_AGENTS} more`])
  return rows
}
