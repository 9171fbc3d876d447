/** The result of a report in one sentence of plain English. */
import { megabytes } from '../units/format.js'
import { clean, fit } from '../units/text.js'
import { NEAR, NEAR_BYTES } from './release-time.js'
import { trend } from './rows.js'
import type { Verdict } from './verdict.js'

/** Servers that the sentence names. */
const MOST_NAMED = 6
/** Columns of a name. */
const LONGEST_NAME = 40

/**
 * Says what each server kept after the spikes: `net kept 8.2 MB more than it needs; ebb kept nothing.`
 */
export function headline(verdicts: readonly Verdict[]): string {
  const said = verdicts.slice(0, MOST_NAMED).map(sentenceOf)
  const more = verdicts.length - said.length
  return `${said.join('; ')}${more > 0 ? `; and ${more} more` : ''}.`
}

function sentenceOf({ name, kept, need, last, peak, trend: change, notes, runs, spread }: Verdict): string {
  const who = fit(clean(name), LONGEST_NAME)
  if (notes.some(({ code }) => code === 'server-ended')) {
    return runs === undefined ? `${who} ended before the run was over` : `${who} ended before a run was over`
  }
  if (last !== undefined && last !== null) {
    const going =
      change === undefined || change === null ? '' : `, ${change === 0 ? 'steady' : `changing by ${trend(change)}`}`
    return `${who} held ${megabytes(last)} at the end, ${megabytes(peak)} at most${going}`
  }
  if (kept === null) return `what ${who} kept is not known`
  if (need === null) return `${who} kept ${megabytes(kept)}, and what it needs is not known`
  const excess = kept - need
  if (excess <= Math.max(need * NEAR, NEAR_BYTES)) return `${who} kept nothing`
  const more = `${who} kept ${megabytes(excess)} more than it needs`
  if (spread?.kept === undefined || spread.need === undefined) return more
  return spread.kept.low <= spread.need.high ? `${more}, which is within the spread of its ${runs} runs` : more
}
