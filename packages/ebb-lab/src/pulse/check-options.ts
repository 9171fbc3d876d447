/** Checks of what `pulse()`, `load()` and `experiment()` are given. */
import { checkObject, warnOfUnknown } from 'ebb/sys'
import { type Plan, planSchema } from './plan.js'

/**
 * Checks a plan before its defaults are filled in, and warns of fields that mean nothing.
 *
 * @throws TypeError `ERR_INVALID_ARG_VALUE` if it is no object
 */
export function checkPlan(plan: Partial<Plan>, what: string): void {
  checkObject(plan, what)
  warnOfUnknown(plan, Object.keys(planSchema.shape), what)
}

/**
 * Checks the options of a function that connects, and warns of those that mean nothing.
 *
 * @throws TypeError `ERR_INVALID_ARG_VALUE` if they are no object
 */
export function checkPulseOptions(options: object, names: readonly string[], taker: string): void {
  checkObject(options, `options of ${taker}`)
  warnOfUnknown(options, names, taker)
}
