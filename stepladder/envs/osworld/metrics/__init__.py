"""OSWorld's metrics: how far a result is what was expected, 0 to 1. Called as (result, expected, **options), or without expected.

Written anew from what the metrics of the public task files do; where theirs are at odds with themselves, as those do. The table
only names them: a metric's file, and the packages that it needs, are loaded when the metric is first asked for.
"""

from __future__ import annotations

from collections.abc import Callable

from stepladder import plugins
from stepladder.envs.osworld.lacking import Lacks

Metric = Callable[..., float]

_IN_FILES: dict[str, tuple[str, ...]] = {
    "text": (
        *("exact_match", "match_in_list", "compare_answer", "literal_match", "fuzzy_match", "check_include_exclude", "is_in_list"),
        *("is_in_vm_clickboard", "is_utc_0", "check_text_enlarged", "check_gnome_favorite_apps", "check_moved_jpgs", "check_list"),
        *("file_contains", "check_line_number", "compare_text_file", "compare_result_files", "compare_terminal_and_txt"),
        *("diff_text_file", "compare_python_pure_text", "compare_csv", "check_csv", "run_sqlite3", "check_direct_json_object"),
    ),
    "settings": (
        *("check_json", "check_json_settings", "check_json_keybindings", "compare_config", "is_extension_installed"),
        *("is_included_all_json_objects", "check_config_status", "check_play_and_exit", "is_vlc_recordings_folder"),
        *("check_one_instance_when_started_from_file", "check_qt_max_volume", "check_qt_minimal_view", "check_qt_bgcone"),
        *("check_qt_slider_colours", "check_global_key_play_pause", "check_auto_saving_time", "check_presenter_console_disable"),
        *("find_default_font", "check_libre_locale"),
    ),
    "mail": ("check_thunderbird_prefs", "check_thunderbird_filter", "check_thunderbird_folder"),
    "browser": (
        *("is_expected_active_tab", "is_expected_active_tab_approximate", "is_expected_url_pattern_match"),
        *("is_expected_search_query", "is_expected_tabs", "is_expected_installed_extensions", "is_expected_bookmarks"),
        *("is_cookie_deleted", "check_history_deleted", "check_enabled_experiments", "check_font_size", "is_shortcut_on_desktop"),
        "is_added_to_steam_cart",
    ),
    "trees": ("check_accessibility_tree", "check_left_panel", "compare_htmls", "is_vlc_playing", "is_vlc_fullscreen"),
    "tables": ("compare_table", "compare_conference_city_in_order"),
    "documents": (
        *("compare_docx_files", "compare_docx_files_and_ignore_new_lines", "compare_docx_lines", "compare_init_lines"),
        *("compare_docx_tables", "compare_docx_images", "compare_contains_image", "compare_insert_equation"),
        *("compare_subscript_contains", "compare_references", "compare_unique_train_records", "check_no_duplicates"),
        "fuzzy_place_math",
    ),
    "document_styles": (
        *("compare_line_spacing", "check_tabstops", "contains_page_break", "compare_font_names", "has_page_numbers_in_footers"),
        *("is_first_line_centered", "check_italic_font_size_14", "evaluate_strike_through_last_paragraph"),
        *("evaluate_colored_words_in_tables", "check_highlighted_words", "compare_highlighted_text", "evaluate_conversion"),
        "evaluate_spacing",
    ),
    "presentations": ("compare_pptx_files",),
    "slides": (
        *("check_slide_orientation_Portrait", "check_image_stretch_and_center", "check_strikethrough", "check_transition"),
        *("evaluate_presentation_fill_to_rgb_distance", "check_page_number_colors", "check_slide_numbers_color"),
    ),
    "pictures": (
        *("compare_images", "compare_image_list", "check_brightness_decrease_and_structure_sim", "check_structure_sim"),
        *("check_saturation_increase_and_structure_sim", "check_contrast_increase_and_structure_sim", "increase_saturation"),
        *("decrease_brightness", "check_sharper", "check_structure_sim_with_threshold", "check_structure_sim_resized"),
        *("check_file_exists_and_structure_sim", "check_palette_and_structure_sim", "check_image_mirror", "check_image_size"),
        *("check_image_file_size", "check_triangle_position", "check_green_background", "check_textbox_on_leftside"),
    ),
    "pdfs": ("compare_pdfs", "compare_pdf_images", "check_pdf_pages", "is_gold_text_included_in_pdf"),
    "archives": ("compare_archive", "compare_zip_files", "compare_epub"),
    "tags": ("check_mp3_meta",),
}
#: Where each metric is.
METRICS: dict[str, str] = {name: f"{__name__}.{file}:{name}" for file, names in _IN_FILES.items() for name in names}
#: What installs the packages that metrics need.
INSTALL = "pip install stepladder[osworld]"


def metric(name: str) -> Metric:
    """The metric of this name. Raises Lacks when there is none, or when a package that it needs is not installed."""
    if name not in METRICS:
        raise Lacks(f"metric {name}")
    try:
        found: Metric = plugins.load(name, METRICS, "metric")
    except ModuleNotFoundError as error:
        raise Lacks(f"package {error.name}", f"the metric {name} needs it: {INSTALL}") from error
    return found
