#!/usr/bin/env bash
# LoRA on a published Qwen3-VL: behaviour cloning on demonstrations of your tasks, then GRPO on the tasks, each compared with the start.
#
#   CHECKPOINT=models/Qwen3-VL-8B-Instruct TASKS=desk runs/qwen3vl_8b_lora.sh
#
# TASKS need a solution of their own (miniwob@demo, desk, forms, or your page: docs/your-own-page.md).
# Every step goes on where it was interrupted. Adapters have rank 32 at alpha 32 and rate 1e-4 for SFT, 1e-5 for RL. A
# checkpoint has them added to its weights; <output>/*/checkpoint/adapter has them alone, as vLLM and peft load them, to be put on what
# that step began with: CHECKPOINT for SFT, SFT's checkpoint for RL (adapter_config.json names it).
#
# This version computes on the processor, with weights in float32: 8B are 33 GB. ranks is 1 for that reason.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${CHECKPOINT:?a Qwen3-VL checkpoint directory}"
tasks=${TASKS:-miniwob@demo} output=${OUTPUT:-runs/qwen3vl-8b-lora} bin=${BIN:-.venv/bin} options=${OPTIONS:-'{}'}
sft_steps=${SFT_STEPS:-300} updates=${UPDATES:-40} episodes=${EPISODES:-5} batch=${BATCH:-16} tokens=${MAX_TOKENS:-512}
lora=(--set lora.rank=32 --set lora.alpha=32 --set optimizer.kind=adamw --set optimizer.beta2=0.98 --set ranks=1)
agent=(--set agent.system=full --set agent.thought=action --set agent.grid=1 --set agent.screenshots=3)

# 1. Where it starts: held-out seeds of every task.
"$bin/stepladder" eval "$CHECKPOINT" --tasks "$tasks" --episodes "$episodes" --output "$output/evaluate/start" \
  --set "options=$options" --set max_tokens="$tokens" --set baselines= "${agent[@]}"

# 2. Behaviour cloning of the tasks' own solutions, the language model's adapters alone.
"$bin/stepladder" collect --tasks "$tasks" --output "$output/collect" --set episodes="${DEMONSTRATIONS:-40}" --set visits=0 \
  --set "options=$options"
"$bin/stepladder" sft --set checkpoint="$CHECKPOINT" --set demonstrations="$output/collect" --output "$output/sft" "${lora[@]}" \
  "${agent[@]}" --set questions=0 --set screens=1 --set copying.steps=0 --set perception.steps=0 --set cloning.steps=0 \
  --set cloning_frozen.steps="$sft_steps" --set cloning_frozen.batch="$batch" --set cloning_frozen.accumulate="$batch" \
  --set cloning_frozen.visits=0 --set cloning_frozen.copies=0 --set cloning_frozen.pointing=0 --set cloning_frozen.lr=1e-4 \
  --set cloning_frozen.warmup=20 --set cloning_frozen.decay=0.5

# 3. GRPO: groups of eight, a constant normaliser, no KL term, truncated importance weights.
"$bin/stepladder" rl --algo grpo --checkpoint "$output/sft/checkpoint" --tasks "$tasks" --output "$output/rl" "${lora[@]}" \
  --set updates="$updates" --set groups="${GROUPS_PER_UPDATE:-8}" --set group_size=8 --set rounds=1 --set environments="${ENVIRONMENTS:-8}" \
  --set algo.dr=true --set algo.clip_high=0.28 --set optimizer.lr=1e-5 --set warmup=3 --set max_tokens="$tokens" \
  --set validation=2 --set evaluate_every=10 --set micro_batch=1 --set "options=$options"

# 4. The same held-out seeds again, and whether it is better.
"$bin/stepladder" eval "$output/rl/checkpoint" --tasks "$tasks" --episodes "$episodes" --output "$output/evaluate/rl" \
  --set "options=$options" --set max_tokens="$tokens" --set baselines= "${agent[@]}"
"$bin/stepladder" compare "$output/evaluate/start" "$output/evaluate/rl"
